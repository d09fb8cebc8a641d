"""Documents made from contracts: what callers read, and what their tools read."""
