"""Forward model: limb transmittance as the pixels see it, and its Jacobian."""
