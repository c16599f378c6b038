"""`make cluster-bench`: what a scoring run on a cluster costs, and a simulation of larger ones."""
