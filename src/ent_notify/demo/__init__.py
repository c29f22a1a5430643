"""The demo: a made-up region, a school day, real protocols on this machine alone, and two pages to look at."""

from ent_notify.demo.run import DemoOptions, run_demo

__all__ = ["DemoOptions", "run_demo"]
