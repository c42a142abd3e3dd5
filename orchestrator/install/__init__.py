"""Install what a job needs on hosts."""
