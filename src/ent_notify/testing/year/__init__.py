"""A school year through the real engine and the real database, with time as a parameter.

``run_year`` draws each day from a seed (``script``), does it to the engine (``driver``) and to a simple model of the
world that shares no code with it (``oracle``), and looks at every invariant at the end of the day (``invariants``,
``sending``). The providers are ``carriers``.
"""

from ent_notify.testing.year.report import DayDone, YearReport
from ent_notify.testing.year.run import run_year
from ent_notify.testing.year.settings import Rates, YearOptions

__all__ = ["DayDone", "Rates", "YearOptions", "YearReport", "run_year"]
