"""The command line as a module to run: ``python -m tgo_spectra.cli``."""

from tgo_spectra.cli import main

if __name__ == "__main__":
    main()
