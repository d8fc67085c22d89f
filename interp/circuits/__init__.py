"""Which edges of a model carry a behaviour: attribution, exact patching, circuits and how faithful they are."""
