"""Which databases of a server are there to be read."""

from __future__ import annotations

# label and whether our role may connect; without templates, and without what a failed DROP DATABASE leaves (-2)
DATABASES = """
    select datname, has_database_privilege(oid, 'connect') from pg_catalog.pg_database
    where datallowconn and not datistemplate and datconnlimit <> -2
    order by datname
"""
