"""The engine: a compiled data plane that serves, a SimPy control plane that decides."""
