"""Servers that hold streams beside ours, each as its documentation says it is run best."""
