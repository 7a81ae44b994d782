"""The loop: runs every collector of every environment at its interval, lands what they give, tells who listens."""

from daemon.scrape._batch import Batch
from daemon.scrape._run import run_collector
from daemon.scrape._scraper import Scraper

__all__ = ["Batch", "Scraper", "run_collector"]
