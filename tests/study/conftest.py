from quick_sqlite import quick_sqlite

__all__ = ["quick_sqlite"]
