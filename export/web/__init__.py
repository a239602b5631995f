"""A model as a page that runs in the browser."""

from export.web.page import write_web_page

__all__ = ["write_web_page"]
