"""Draw what the page on what an occultation sees explains.

Run by hand, ``python docs/drawings.py``; the pictures are kept beside the page.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tgo_spectra.instruments import so

HERE = Path(__file__).parent / "explanation"
BLUE, RED, GREY, ORANGE = "#1f5fa8", "#c0392b", "0.55", "#d98200"
RADIUS_KM = 3389.5


def limb() -> Figure:
    """Line of sight past the planet; the atmosphere is drawn eight times too high."""
    figure = Figure(figsize=(7.6, 2.7), layout="constrained")
    ax = figure.subplots()
    angle = np.linspace(0.0, np.pi, 400)
    tall = 8.0

    def shell(height: float, **style: object) -> None:
        r = RADIUS_KM + tall * height
        ax.plot(r * np.cos(angle), r * np.sin(angle), **style)

    ax.fill(RADIUS_KM * np.cos(angle), RADIUS_KM * np.sin(angle), color="#e8d5c4")
    for height in range(10, 101, 10):
        shell(height, color="0.75", lw=0.5)
    shell(0.0, color="#8a5a33", lw=1.2)
    tangent = RADIUS_KM + tall * 40.0
    far = 6800.0
    arrow = {"arrowstyle": "->", "color": RED}
    ax.annotate("", (-far, tangent), (far, tangent), arrowprops=arrow)
    ax.plot(0.0, tangent, "o", color=RED, ms=5)
    ax.plot([0.0, 0.0], [RADIUS_KM, tangent], color=RED, lw=1.0, ls=":")
    ax.annotate(
        "tangent point: most of the air\nand most of the signal is here",
        (0.0, tangent), (500.0, tangent + 750.0), color=RED, fontsize="small",
        arrowprops={"arrowstyle": "-", "color": RED, "lw": 0.6},
    )  # fmt: skip
    ax.annotate(
        "tangent altitude, from the areoid", (0.0, RADIUS_KM + tall * 18.0),
        (-2600.0, RADIUS_KM - 1200.0), color=RED, fontsize="small",
        arrowprops={"arrowstyle": "-", "color": RED, "lw": 0.6},
    )  # fmt: skip
    ax.text(far, tangent + 120.0, "from the Sun", ha="right", color=ORANGE)
    ax.text(-far, tangent + 120.0, "to the spectrometer", ha="left")
    ax.text(0.0, RADIUS_KM - 1800.0, "Mars", ha="center", color="#8a5a33")
    ax.text(
        2900.0, 2100.0, "levels of a profile: shells\n(height drawn 8 times too large)",
        fontsize="small", color="0.3",
    )  # fmt: skip
    ax.set(xlim=(-7000.0, 7000.0), ylim=(1300.0, 4950.0), aspect="equal")
    ax.axis("off")
    return figure


def bins() -> Figure:
    """Four detector bins look at four heights; the next spectrum looks deeper."""
    figure = Figure(figsize=(7.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    colours = [BLUE, ORANGE, "#3b8f5a", RED]
    for k, colour in enumerate(colours):
        left.axhspan(120 + 4 * k - 0.5, 123.5 + 4 * k, color=colour, alpha=0.35, lw=0)
        left.text(
            160, 121.5 + 4 * k, f"bin {k}", ha="center", va="center", color=colour
        )
    for row in range(120, 137):
        left.axhline(row - 0.5, color="w", lw=0.6)
    left.set(
        xlabel="pixel: wavenumber", ylabel="detector row: place in the slit",
        xlim=(0, 319), ylim=(135.5, 119.5),
        title="the detector: rows are added in bins",
    )  # fmt: skip
    left.title.set_size("small")
    seconds = np.arange(6)
    for k, colour in enumerate(colours):
        middle = 60.0 - 0.98 * seconds - 0.345 * (k - 1.5)
        right.errorbar(
            seconds + 0.08 * (k - 1.5), middle, yerr=0.66, fmt="o", ms=3.5, lw=1.2,
            color=colour, label=f"bin {k}",
        )  # fmt: skip
    right.set(
        xlabel="time (s): one spectrum of each bin a second",
        ylabel="tangent altitude (km)",
        title="what each spectrum sees: its middle and extent",
    )
    right.title.set_size("small")
    right.legend(frameon=False, fontsize="small", ncols=2)
    return figure


def orders() -> Figure:
    """Light of neighbouring orders that falls on the pixels of order 134."""
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(3, 2))
    order, celsius = 134, -5.0
    pixel = np.arange(320)
    centre = float(so.pixel_wavenumber(order, 160, celsius, "archive"))
    width = float(so.free_spectral_range(centre, celsius))
    nu = np.linspace(centre - 100.0, centre + 100.0, 3000)
    top.plot(nu, so.aotf_transmission(nu, centre), color="k", lw=1.2, label="AOTF")
    share = {}
    for k in range(order - 4, order + 5):
        at = so.pixel_wavenumber(k, pixel, celsius, "archive")
        light = so.aotf_transmission(at, centre) * so.blaze(at, k, width)
        share[k] = light
        colour = RED if k == order else f"C{(k - order) % 9}"
        top.fill_between(at, light, color=colour, alpha=0.5, lw=0)
        top.text(at.mean(), -0.09, str(k), ha="center", fontsize="small", color=colour)
    top.set(
        xlabel="wavenumber (cm$^{-1}$), with the orders below", ylabel="transmission",
        ylim=(-0.13, 1.12), xlim=(nu[0], nu[-1]),
        title="the filter lets more than one order through (order 134 is wanted) ...",
    )  # fmt: skip
    top.legend(frameon=False)
    total = sum(share.values())
    below = np.zeros(pixel.size)
    for k in sorted(share, key=lambda k: (abs(k - order), k)):
        part = share[k] / total
        colour = RED if k == order else f"C{(k - order) % 9}"
        bottom.fill_between(pixel, below, below + part, color=colour, alpha=0.5, lw=0)
        if part.mean() > 0.05:
            at = int(np.clip(part.argmax(), 12, 307))
            middle = (below + 0.5 * part)[at]
            bottom.text(at, middle, str(k), ha="center", va="center", fontsize="small")
        below = below + part
    bottom.set(
        xlabel="pixel", ylabel="share of the light", xlim=(0, 319), ylim=(0, 1),
        title="... and on each pixel they lie on top of each other",
    )  # fmt: skip
    for ax in (top, bottom):
        ax.title.set_size("small")
    return figure


def kernels() -> Figure:
    """Averaging kernels of a weak gas, seen along straight lines past the planet."""
    figure = Figure(figsize=(7.6, 4.0), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    z = np.arange(0.0, 61.0, 1.0)
    edges = np.append(z - 0.5, z[-1] + 0.5) + RADIUS_KM
    reach = np.sqrt(np.clip(edges**2 - (z[:, None] + RADIUS_KM) ** 2, 0.0, None))
    path = 2.0 * np.diff(reach, axis=1) * np.exp(-z / 8.0)  # air falls with 8 km
    prior = np.exp(-np.abs(z[:, None] - z) / 3.0)  # a priori: 1, correlated over 3 km
    for ax, noise in zip(axes[:2], (0.5, 20.0), strict=True):
        data = path.T @ path / noise**2
        kernel = np.linalg.solve(data + np.linalg.inv(prior), data)
        for level in range(5, 56, 10):
            ax.plot(kernel[level], z, label=f"{level} km")
            ax.axhline(level, color="0.85", lw=0.5, zorder=0)
        ax.plot(kernel.sum(axis=1), z, "k--", lw=1.0, label="response")
        words = "little noise" if noise < 1.0 else "40 times the noise"
        ax.set(xlabel="averaging kernel", title=words, xlim=(-0.2, 1.15))
    axes[0].set(ylabel="altitude (km)")
    axes[1].legend(frameon=False, fontsize="x-small", loc="upper right")
    truth = 0.3 + np.exp(-0.5 * ((z - 25.0) / 2.0) ** 2)
    axes[2].plot(truth, z, color="k", lw=1.2, label="truth")
    axes[2].axvline(0.3, color=GREY, ls="--", lw=1.0, label="a priori")
    axes[2].plot(
        0.3 + kernel @ (truth - 0.3), z, color=RED, label="as seen, noisy case"
    )
    axes[2].set(xlabel="amount of the gas", title="what a kernel does")
    axes[2].legend(frameon=False, fontsize="x-small", loc="upper right")
    for ax in axes:
        ax.title.set_size("small")
    return figure


if __name__ == "__main__":
    for draw in (limb, bins, orders, kernels):
        draw().savefig(HERE / f"{draw.__name__}.png", dpi=100)
