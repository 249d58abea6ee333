"""The scenes of the embedded data sets, and what draws them."""
