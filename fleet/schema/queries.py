"""The one statement that reads a schema: for each kind of object its name, its table, and its definition as JSON.

The texts are made by PostgreSQL's own deparse functions, with names in place of OIDs. Left out is what may rightly
differ between environments of one schema: owners, roles of policies, storage and autovacuum parameters of tables, the
order of columns (merged branches add them in either order), what extensions own, replication. Left out are also invalid
indexes, which are left-overs or builds in flight; indexes of constraints and of partitions, which follow from those;
and NOT NULL constraints by name, which only PostgreSQL 18 has.
"""

from __future__ import annotations

# what the deparse functions depend on, as pg_dump sets it; transaction-local. They wait for locks, but not for long
SETTINGS = """
    select set_config('search_path', '', true), set_config('quote_all_identifiers', 'off', true),
           set_config('datestyle', 'ISO, YMD', true), set_config('intervalstyle', 'postgres', true),
           set_config('timezone', 'UTC', true), set_config('extra_float_digits', '3', true),
           set_config('bytea_output', 'hex', true), set_config('lock_timeout', '1s', true)
"""

# `owned`: members of extensions, and what PostgreSQL made for another object (sequences of identity columns)
_COMMON = """
    spaces as materialized (
        select n.oid, n.nspname from pg_catalog.pg_namespace n
        where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    ),
    owned as materialized (
        select classid, objid from pg_catalog.pg_depend
        where deptype = 'e' and refclassid = 'pg_catalog.pg_extension'::regclass
           or deptype = 'i' and objsubid = 0
    ),
    relations as materialized (
        select c.*, format('%I.%I', s.nspname, c.relname) as name
        from pg_catalog.pg_class c join spaces s on s.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'f', 'v', 'm', 'S') and c.relpersistence <> 't'
          and not exists (select from owned o where o.classid = 'pg_catalog.pg_class'::regclass and o.objid = c.oid)
    ),
    functions as (
        select p.* from pg_catalog.pg_proc p join spaces s on s.oid = p.pronamespace
        where not exists (select from owned o where o.classid = 'pg_catalog.pg_proc'::regclass and o.objid = p.oid)
    ),
    types as (
        select t.*, format('%I.%I', s.nspname, t.typname) as name
        from pg_catalog.pg_type t join spaces s on s.oid = t.typnamespace
        where not exists (select from owned o where o.classid = 'pg_catalog.pg_type'::regclass and o.objid = t.oid)
    )
"""

_SEQUENCE = """format('START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s %s', q.seqstart, q.seqincrement,
                q.seqmin, q.seqmax, q.seqcache, case when q.seqcycle then 'CYCLE' else 'NO CYCLE' end)"""

_KINDS = f"""
    select 'schema', format('%I', s.nspname), null, json_build_object()
    from spaces s
    where not exists (
        select from owned o where o.classid = 'pg_catalog.pg_namespace'::regclass and o.objid = s.oid)
    union all
    select 'extension', format('%I', e.extname), null, json_build_object('version', e.extversion, 'schema', n.nspname)
    from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
    where e.extname <> 'plpgsql'
    union all
    select 'table', r.name, r.name, json_build_object(
        'persistence', case when r.relpersistence = 'u' then 'UNLOGGED' end,
        'foreign server', (select format('%I', v.srvname) from pg_catalog.pg_foreign_table f
                           join pg_catalog.pg_foreign_server v on v.oid = f.ftserver where f.ftrelid = r.oid),
        'partition by', case when r.relkind = 'p' then pg_get_partkeydef(r.oid) end,
        'parents', (select string_agg(format('%I.%I', pn.nspname, p.relname), ', ' order by h.inhseqno)
                    from pg_catalog.pg_inherits h join pg_catalog.pg_class p on p.oid = h.inhparent
                    join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace where h.inhrelid = r.oid),
        'bound', pg_get_expr(r.relpartbound, r.oid),
        'row security', case when r.relrowsecurity then 'ENABLE' end,
        'forced row security', case when r.relforcerowsecurity then 'FORCE' end)
    from relations r where r.relkind in ('r', 'p', 'f')
    union all
    select 'column', format('%I', a.attname), r.name, json_build_object(
        'type', format_type(a.atttypid, a.atttypmod),
        'collation', case when a.attcollation <> t.typcollation then a.attcollation::regcollation::text end,
        'not null', case when a.attnotnull then 'NOT NULL' end,
        'default', case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end,
        'generated', case when a.attgenerated <> '' then format('GENERATED ALWAYS AS (%s) %s',
            pg_get_expr(d.adbin, d.adrelid), case a.attgenerated when 's' then 'STORED' else 'VIRTUAL' end) end,
        'identity', case when a.attidentity <> '' then format('GENERATED %s AS IDENTITY (%s)',
            case a.attidentity when 'a' then 'ALWAYS' else 'BY DEFAULT' end,
            (select {_SEQUENCE} from pg_catalog.pg_depend i
             join pg_catalog.pg_sequence q on q.seqrelid = i.objid
             where i.classid = 'pg_catalog.pg_class'::regclass and i.deptype = 'i'
               and i.refclassid = 'pg_catalog.pg_class'::regclass and i.refobjid = r.oid
               and i.refobjsubid = a.attnum)) end)
    from relations r
    join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    join pg_catalog.pg_type t on t.oid = a.atttypid
    left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where r.relkind in ('r', 'p', 'f')
    union all
    select 'constraint', format('%I', k.conname), r.name, json_build_object(
        'definition', pg_get_constraintdef(k.oid),
        'options', (select string_agg(option_name || '=' || option_value, ', ' order by option_name)
                    from pg_options_to_table(i.reloptions)))
    from pg_catalog.pg_constraint k join relations r on r.oid = k.conrelid
    left join pg_catalog.pg_class i on i.oid = k.conindid and k.contype in ('p', 'u', 'x')
    where k.contype in ('c', 'f', 'p', 'u', 'x') and k.conparentid = 0 and k.conislocal
    union all
    select 'index', format('%I.%I', s.nspname, c.relname), r.name, json_build_object(
        'text', pg_get_indexdef(i.indexrelid),
        'unique', case when i.indisunique then 'UNIQUE' end,
        'has options', case when c.reloptions is not null then 'yes' end,
        -- what is said aloud and is pgvector's or PostgreSQL's default all the same
        'options', (select string_agg(option_name || '=' || option_value, ', ' order by option_name)
                    from pg_options_to_table(c.reloptions)
                    where (m.amname, option_name, option_value) not in (('hnsw', 'm', '16'),
                        ('hnsw', 'ef_construction', '64'), ('ivfflat', 'lists', '100'), ('btree', 'fillfactor', '90'))),
        'where', pg_get_expr(i.indpred, i.indrelid))
    from pg_catalog.pg_index i join relations r on r.oid = i.indrelid
    join pg_catalog.pg_class c on c.oid = i.indexrelid and not c.relispartition
    join pg_catalog.pg_am m on m.oid = c.relam
    join spaces s on s.oid = c.relnamespace
    where i.indisvalid and not exists (
        select from pg_catalog.pg_constraint k
        where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x') and k.conrelid = i.indrelid)
    union all
    select case r.relkind when 'v' then 'view' else 'materialized_view' end, r.name, r.name, json_build_object(
        'options', case when r.relkind = 'v' then
            (select string_agg(o, ', ' order by o) from unnest(r.reloptions) o) end,
        'query', pg_get_viewdef(r.oid))
    from relations r where r.relkind in ('v', 'm')
    union all
    select 'function', p.oid::regprocedure::text, null, json_build_object(
        'form', case p.prokind when 'p' then 'PROCEDURE' else 'FUNCTION' end, 'definition', pg_get_functiondef(p.oid))
    from functions p where p.prokind <> 'a'
    union all
    select 'aggregate', p.oid::regprocedure::text, null, json_build_object(
        'kind', case a.aggkind when 'n' then null when 'o' then 'ordered-set' else 'hypothetical-set' end,
        'sfunc', a.aggtransfn::text, 'stype', format_type(a.aggtranstype, null),
        'finalfunc', nullif(a.aggfinalfn::text, '-'), 'combinefunc', nullif(a.aggcombinefn::text, '-'),
        'serialfunc', nullif(a.aggserialfn::text, '-'), 'deserialfunc', nullif(a.aggdeserialfn::text, '-'),
        'initcond', quote_literal(a.agginitval),
        'parallel', case p.proparallel when 's' then 'safe' when 'r' then 'restricted' end)
    from functions p join pg_catalog.pg_aggregate a on a.aggfnoid = p.oid
    union all
    select 'trigger', format('%I', t.tgname), r.name, json_build_object(
        'definition', pg_get_triggerdef(t.oid),
        'enabled', case t.tgenabled when 'D' then 'DISABLE' when 'R' then 'ENABLE REPLICA'
                                    when 'A' then 'ENABLE ALWAYS' end)
    from pg_catalog.pg_trigger t join relations r on r.oid = t.tgrelid
    where not t.tgisinternal and t.tgparentid = 0
    union all
    select 'rule', format('%I', w.rulename), r.name, json_build_object('definition', pg_get_ruledef(w.oid))
    from pg_catalog.pg_rewrite w join relations r on r.oid = w.ev_class
    where w.rulename <> '_RETURN'
    union all
    select 'policy', format('%I', p.polname), r.name, json_build_object(
        'permissive', case when not p.polpermissive then 'RESTRICTIVE' end,
        'command', case p.polcmd when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE'
                                 when 'd' then 'DELETE' end,
        'using', pg_get_expr(p.polqual, p.polrelid), 'with check', pg_get_expr(p.polwithcheck, p.polrelid))
    from pg_catalog.pg_policy p join relations r on r.oid = p.polrelid
    union all
    select 'sequence', r.name, o.owner, json_build_object(
        'type', format_type(q.seqtypid, null), 'options', {_SEQUENCE},
        'owned by', o.owner || '.' || quote_ident(a.attname),
        'persistence', case when r.relpersistence = 'u' then 'UNLOGGED' end)
    from relations r join pg_catalog.pg_sequence q on q.seqrelid = r.oid
    left join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_class'::regclass and d.objid = r.oid
      and d.deptype = 'a' and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjsubid > 0
    left join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    left join pg_catalog.pg_class b on b.oid = d.refobjid
    left join pg_catalog.pg_namespace n on n.oid = b.relnamespace
    cross join lateral (select quote_ident(n.nspname) || '.' || quote_ident(b.relname) as owner) o
    union all
    select 'type', t.name, null, json_build_object(
        'form', 'ENUM', 'labels', (select string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder)
                                   from pg_catalog.pg_enum e where e.enumtypid = t.oid))
    from types t where t.typtype = 'e'
    union all
    select 'type', t.name, null, json_build_object(
        'form', 'DOMAIN', 'base', format_type(t.typbasetype, t.typtypmod),
        'collation', case when t.typcollation <> b.typcollation then t.typcollation::regcollation::text end,
        'not null', case when t.typnotnull then 'NOT NULL' end, 'default', pg_get_expr(t.typdefaultbin, 0),
        'checks', (select string_agg(format('CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)), E'\\n'
                                     order by k.conname)
                   from pg_catalog.pg_constraint k where k.contypid = t.oid and k.contype = 'c'))
    from types t join pg_catalog.pg_type b on b.oid = t.typbasetype where t.typtype = 'd'
    union all
    select 'type', t.name, null, json_build_object(
        'form', 'COMPOSITE',
        'attributes', (select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', '
                                         order by a.attnum)
                       from pg_catalog.pg_attribute a
                       where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped))
    from types t join pg_catalog.pg_class c on c.oid = t.typrelid and c.relkind = 'c' where t.typtype = 'c'
    union all
    select 'type', t.name, null, json_build_object(
        'form', 'RANGE', 'subtype', format_type(g.rngsubtype, null),
        'subtype_diff', nullif(g.rngsubdiff::text, '-'), 'canonical', nullif(g.rngcanonical::text, '-'))
    from types t join pg_catalog.pg_range g on g.rngtypid = t.oid where t.typtype = 'r'
    union all
    -- its columns are told in the order of the table's
    select 'statistics', format('%I.%I', s.nspname, x.stxname), r.name, json_build_object(
        'definition', replace(pg_get_statisticsobjdef(x.oid), ' ON ' || c.told, ' ON ' || c.sorted))
    from pg_catalog.pg_statistic_ext x join spaces s on s.oid = x.stxnamespace join relations r on r.oid = x.stxrelid
    cross join lateral (
        select coalesce(string_agg(quote_ident(a.attname), ', ' order by k.place), '') as told,
               coalesce(string_agg(quote_ident(a.attname), ', ' order by a.attname), '') as sorted
        from unnest(x.stxkeys::int2[]) with ordinality k (number, place)
        join pg_catalog.pg_attribute a on a.attrelid = x.stxrelid and a.attnum = k.number) c
    union all
    select 'text_search', format('%I.%I', s.nspname, f.cfgname), null, (
        select json_object_agg(part.name, part.value) from (
            select 'form' as name, 'CONFIGURATION' as value
            union all select 'parser', format('%I.%I', pn.nspname, p.prsname)
            union all
            select 'for ' || k.alias, string_agg(m.mapdict::regdictionary::text, ', ' order by m.mapseqno)
            from pg_catalog.pg_ts_config_map m join ts_token_type(f.cfgparser) k on k.tokid = m.maptokentype
            where m.mapcfg = f.oid group by k.alias) part)
    from pg_catalog.pg_ts_config f
    join spaces s on s.oid = f.cfgnamespace
    join pg_catalog.pg_ts_parser p on p.oid = f.cfgparser
    join pg_catalog.pg_namespace pn on pn.oid = p.prsnamespace
    where not exists (select from owned o where o.classid = 'pg_catalog.pg_ts_config'::regclass and o.objid = f.oid)
    union all
    select 'text_search', format('%I.%I', s.nspname, d.dictname), null, json_build_object(
        'form', 'DICTIONARY', 'template', format('%I.%I', tn.nspname, t.tmplname), 'options', d.dictinitoption)
    from pg_catalog.pg_ts_dict d
    join spaces s on s.oid = d.dictnamespace
    join pg_catalog.pg_ts_template t on t.oid = d.dicttemplate
    join pg_catalog.pg_namespace tn on tn.oid = t.tmplnamespace
    where not exists (select from owned o where o.classid = 'pg_catalog.pg_ts_dict'::regclass and o.objid = d.oid)
"""  # noqa: S608 - joined from constants

# initdb's own have lower OIDs
_COMMENTS = """
    union all
    select 'comment', i.type || ' ' || i.identity, r.name, json_build_object('text', d.description)
    from pg_catalog.pg_description d
    cross join lateral pg_identify_object(d.classoid, d.objoid, d.objsubid) i
    left join relations r on d.classoid = 'pg_catalog.pg_class'::regclass and r.oid = d.objoid
    where d.objoid >= 16384 and i.type <> 'extension'
      and not exists (select from owned o where o.classid = d.classoid and o.objid = d.objoid)
"""
_GRANTS = """
    union all
    select 'grant', format('%s %s to %s', g.type, g.name, coalesce(quote_ident(u.rolname), 'PUBLIC')), g.relation,
           json_build_object('privileges', string_agg(distinct x.privilege_type
               || case when x.is_grantable then ' WITH GRANT OPTION' else '' end, ', '))
    from (
        select case when relkind = 'S' then 'sequence' else 'table' end as type, name, name as relation, relacl as acl,
               relowner as owner from relations
        union all select case prokind when 'p' then 'procedure' else 'function' end, oid::regprocedure::text, null,
                         proacl, proowner from functions
        union all select 'schema', format('%I', n.nspname), null, n.nspacl, n.nspowner
        from spaces s join pg_catalog.pg_namespace n on n.oid = s.oid
    ) g
    cross join lateral aclexplode(g.acl) x
    left join pg_catalog.pg_roles u on u.oid = x.grantee
    where x.grantee <> g.owner
    group by g.type, g.name, g.relation, u.rolname
"""


def catalogue_sql(*, comments: bool, grants: bool) -> str:
    """Records of kind, name, table (or null) and definition (JSON text, parts at their default are null)."""
    optional = (_COMMENTS if comments else "") + (_GRANTS if grants else "")
    return f"with {_COMMON}, found (kind, name, relation, definition) as ({_KINDS}{optional}) select * from found"  # noqa: S608 - joined from constants
