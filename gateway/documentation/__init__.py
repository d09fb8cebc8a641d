"""The documentation of a running gateway: what one caller may call, and the pages and files that say so."""
