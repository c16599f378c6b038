"""The engines that compute the transformer, and which of them this machine takes."""
