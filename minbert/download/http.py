"""The HTTP library: httpx2, or httpx, from which it comes, where only that one is installed."""

try:
    import httpx2 as http
except ImportError:  # as beside huggingface_hub 1, which brings httpx
    import httpx as http  # type: ignore[no-redef]

__all__ = ["http"]
