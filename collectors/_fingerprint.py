"""SQL that tells a database's schema: how many objects of each kind, and a hash over what they are.

The definition is made of PostgreSQL's own deparse functions, with names in place of OIDs. Left out is what may
rightly differ between environments of one schema: owners, privileges, comments, storage and autovacuum parameters of
tables, the order of columns (merged branches add them in either order), extensions and what they own, replication.
Left out are also invalid indexes, which are left-overs or builds in flight, and NOT NULL constraints by name, which
only PostgreSQL 18 has. Compare servers of one major version: the text of views and of some expressions changes
between them.
"""

from __future__ import annotations

# what the deparse functions depend on, as pg_dump sets it; transaction-local
DEPARSE_SETTINGS = """
    select set_config('search_path', '', true), set_config('quote_all_identifiers', 'off', true),
           set_config('datestyle', 'ISO, YMD', true), set_config('intervalstyle', 'postgres', true),
           set_config('timezone', 'UTC', true), set_config('extra_float_digits', '3', true),
           set_config('bytea_output', 'hex', true)
"""

_USERS = """
    spaces as (
        select oid, nspname from pg_catalog.pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
    ),
    owned as materialized (
        select classid, objid from pg_catalog.pg_depend
        where deptype = 'e' and refclassid = 'pg_catalog.pg_extension'::regclass
    ),
    relations as materialized (
        select c.oid, c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.relpartbound,
               c.reloptions, format('%I.%I', s.nspname, c.relname) as name
        from pg_catalog.pg_class c join spaces s on s.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'f', 'v', 'm', 'S', 'c')
          and not exists (select from owned o where o.classid = 'pg_catalog.pg_class'::regclass and o.objid = c.oid)
    ),
    functions as (
        select p.* from pg_catalog.pg_proc p join spaces s on s.oid = p.pronamespace
        where not exists (select from owned o where o.classid = 'pg_catalog.pg_proc'::regclass and o.objid = p.oid)
    )
"""

COUNTS = f"""
    with {_USERS}
    select current_database() as datname, kind, count
    from (
        select count(*) filter (where relkind in ('r', 'p', 'f')) as "table",
               count(*) filter (where relkind in ('v', 'm')) as view,
               count(*) filter (where relkind = 'S') as sequence,
               (select count(*) from pg_catalog.pg_attribute a join relations r on r.oid = a.attrelid
                where r.relkind in ('r', 'p', 'f') and a.attnum > 0 and not a.attisdropped) as "column",
               (select count(*) from pg_catalog.pg_index i join relations r on r.oid = i.indrelid
                where i.indisvalid) as index,
               (select count(*) from pg_catalog.pg_constraint k join relations r on r.oid = k.conrelid
                where k.contype in ('c', 'f', 'p', 'u', 'x') and k.conparentid = 0) as "constraint",
               (select count(*) from functions) as function,
               (select count(*) from pg_catalog.pg_trigger t join relations r on r.oid = t.tgrelid
                where not t.tgisinternal and t.tgparentid = 0) as trigger
        from relations
    ) counted
    cross join lateral (
        values ('table', counted."table"), ('view', view), ('sequence', sequence), ('column', "column"),
               ('index', index), ('constraint', "constraint"), ('function', function), ('trigger', trigger)
    ) as by_kind (kind, count)
"""  # noqa: S608 - joined from constants

FINGERPRINT = f"""
    with {_USERS},
    lines (line) as (
        select json_build_array(
            'relation', r.name, r.relkind, r.relpersistence, r.relrowsecurity, r.relforcerowsecurity,
            case when r.relkind = 'p' then pg_get_partkeydef(r.oid) end, pg_get_expr(r.relpartbound, r.oid),
            (select array_agg(inhparent::regclass::text order by inhseqno)
             from pg_catalog.pg_inherits where inhrelid = r.oid),
            case when r.relkind = 'v' then (select array_agg(o order by o) from unnest(r.reloptions) o) end,
            case when r.relkind in ('v', 'm') then pg_get_viewdef(r.oid) end)
        from relations r
        union all
        select json_build_array(
            'column', r.name, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
            a.attgenerated, pg_get_expr(d.adbin, d.adrelid),
            case when a.attcollation <> t.typcollation then a.attcollation::regcollation::text end)
        from relations r
        join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
        join pg_catalog.pg_type t on t.oid = a.atttypid
        left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where r.relkind <> 'S'
        union all
        select json_build_array('constraint', coalesce(r.name, k.contypid::regtype::text), k.conname,
                                pg_get_constraintdef(k.oid))
        from pg_catalog.pg_constraint k
        join spaces s on s.oid = k.connamespace
        left join relations r on r.oid = k.conrelid
        where k.contype in ('c', 'f', 'p', 'u', 'x') and k.conparentid = 0
          and (r.oid is not null or k.contypid <> 0 and not exists (
              select from owned o where o.classid = 'pg_catalog.pg_type'::regclass and o.objid = k.contypid))
        union all
        select json_build_array('index', pg_get_indexdef(i.indexrelid))
        from pg_catalog.pg_index i join relations r on r.oid = i.indrelid
        where i.indisvalid
        union all
        select json_build_array(
            'sequence', r.name, format_type(q.seqtypid, null), q.seqstart, q.seqincrement, q.seqmin, q.seqmax,
            q.seqcache, q.seqcycle)
        from relations r join pg_catalog.pg_sequence q on q.seqrelid = r.oid
        union all
        select json_build_array('trigger', r.name, pg_get_triggerdef(t.oid), t.tgenabled)
        from pg_catalog.pg_trigger t join relations r on r.oid = t.tgrelid
        where not t.tgisinternal and t.tgparentid = 0
        union all
        select json_build_array('policy', r.name, p.polname, p.polcmd, p.polpermissive,
                                pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
        from pg_catalog.pg_policy p join relations r on r.oid = p.polrelid
        union all
        select json_build_array('rule', r.name, pg_get_ruledef(w.oid))
        from pg_catalog.pg_rewrite w join relations r on r.oid = w.ev_class
        where w.rulename <> '_RETURN'
        union all
        select json_build_array('function', p.oid::regprocedure::text, pg_get_functiondef(p.oid))
        from functions p
        where p.prokind <> 'a'
        union all
        select json_build_array('aggregate', p.oid::regprocedure::text, a.aggkind, a.aggtransfn::text,
                                a.aggfinalfn::text, format_type(a.aggtranstype, null), a.agginitval)
        from functions p join pg_catalog.pg_aggregate a on a.aggfnoid = p.oid
        union all
        select json_build_array(
            'type', t.oid::regtype::text, t.typtype, t.typnotnull, t.typdefault,
            case when t.typtype = 'd' then format_type(t.typbasetype, t.typtypmod) end,
            (select format_type(g.rngsubtype, null) from pg_catalog.pg_range g where g.rngtypid = t.oid),
            (select array_agg(e.enumlabel order by e.enumsortorder)
             from pg_catalog.pg_enum e where e.enumtypid = t.oid))
        from pg_catalog.pg_type t join spaces s on s.oid = t.typnamespace
        where t.typtype in ('d', 'e', 'r')
          and not exists (select from owned o where o.classid = 'pg_catalog.pg_type'::regclass and o.objid = t.oid)
        union all
        select json_build_array('statistics', pg_get_statisticsobjdef(x.oid))
        from pg_catalog.pg_statistic_ext x join spaces s on s.oid = x.stxnamespace
        union all
        select json_build_array(
            'text search configuration', f.oid::regconfig::text, p.prsname,
            (select array_agg(m.maptokentype || ' ' || m.mapdict::regdictionary::text
                              order by m.maptokentype, m.mapseqno)
             from pg_catalog.pg_ts_config_map m where m.mapcfg = f.oid))
        from pg_catalog.pg_ts_config f
        join spaces s on s.oid = f.cfgnamespace
        join pg_catalog.pg_ts_parser p on p.oid = f.cfgparser
        where not exists (
            select from owned o where o.classid = 'pg_catalog.pg_ts_config'::regclass and o.objid = f.oid)
        union all
        select json_build_array('text search dictionary', d.oid::regdictionary::text, t.tmplname, d.dictinitoption)
        from pg_catalog.pg_ts_dict d
        join spaces s on s.oid = d.dictnamespace
        join pg_catalog.pg_ts_template t on t.oid = d.dicttemplate
        where not exists (
            select from owned o where o.classid = 'pg_catalog.pg_ts_dict'::regclass and o.objid = d.oid)
    ),
    hashes (hash) as (select encode(sha256(convert_to(line::text, 'UTF8')), 'hex') from lines)
    select encode(sha256(convert_to(coalesce(string_agg(hash, ' ' order by hash collate "C"), ''), 'UTF8')), 'hex')
    from hashes
"""  # noqa: S608 - joined from constants
