"""Fentan (分摊): the payment and debit batch engine of mutual-aid plans."""

__version__ = "0.1.0"
