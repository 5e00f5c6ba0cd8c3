"""The HTTP library: httpx2, or httpx, from which it comes, where only that one is installed."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2 as http
else:
    try:
        import httpx2 as http
    except ImportError:  # as beside huggingface_hub 1, which brings httpx
        import httpx as http

__all__ = ["http"]
