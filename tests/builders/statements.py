"""SQL statements for tests of what a user may ask: bombs, and a seeded grammar of all kinds."""

from __future__ import annotations

import random

BOMBS = {
    "repeated text": "select repeat('a', 1000000000)",
    "only its length": "select length(repeat('a', 1000000000))",
    "padding": "select lpad('a', 2000000000, 'b')",
    "printf": "select printf('%1000000000d', 1)",
    "format": "select format('{:1000000000}', 1)",
    "long list": "select list_resize([1], 2000000000)",
    "range": "select range(0, 2000000000)",
    "recursion": "with recursive t(n) as (select 1 union all select n + 1 from t) select max(n) from t",
    "recursive growth": "with recursive t(s) as (select 'a' union all select s || s from t) from t",
    "cartesian product": "select count(*) from range(100000) a, range(100000) b, range(1000) c",
    "sort": "from range(1000000000000) order by random()",
    "distinct": "select count(distinct range) from range(1000000000000)",
    "aggregated text": "select string_agg(repeat('a', 10000), '') from range(10000000)",
    "aggregated list": "select list(i) from range(10000000000) t(i)",
    "window": "select array_agg(x) over () from range(100000) t(x)",
    "regex": "select regexp_extract_all(repeat('a', 20000000), '(a|aa)*?$')",
    "parentheses": f"select {'(' * 100_000}1{')' * 100_000}",
    "nested lists": f"select {'[' * 900}1{']' * 900}",
    "nested calls": f"select {'abs(' * 20_000}1{')' * 20_000}",
    "nested json": f"select '{'[' * 100_000}{']' * 100_000}'::json",
    "long sum": "select " + "+".join(["1"] * 50_000),
    "large rows": "select repeat('a', 100000000) from range(100)",
    "many columns": f"select {', '.join(['repeat(range::text, 1000)'] * 5000)} from range(1000)",
    "bits": "select bit_count(repeat('1', 4000000000)::bit)",
}
# A grammar of statements: what SQL can say, what DuckDB adds, and what must not work here.
VALUES = (
    "1",
    "-1",
    "null",
    "'a'",
    "''",
    "1e308",
    "'nan'::double",
    "170141183460469231731687303715884105727",
    "true",
    "date '2026-01-01'",
    "'infinity'::timestamp",
    "interval 5 day",
    "[1, null]",
    "{'a': [1]}",
    "map([[1]], [2])",
    "'\\xff'::blob",
    "'{\"a\": [1e999]}'::json",
    "uuid()",
    "time '24:00:00'",
    "1::decimal(38, 37)",
    "'é\u202e'",
    "123456789012345678901234567890::varint",
    "(select max(n_items) from runs)",
    "row(1, 'a')",
    "'1'::bit",
    "union_value(a := 1)",
    "x -> x + 1",
    "$1",
    "?",
    "default",
    "timestamptz '290000-01-01 00:00:00+00'",
)
CALLS = (
    "abs({})",
    "repeat('a', {} * 1000)",
    "list_transform([1, 2], x -> x + {})",
    "regexp_replace({}::text, '(a+)+', 'b')",
    "try_cast({} as integer)",
    "{}::varchar",
    "coalesce({}, {})",
    "md5({}::text)",
    "to_json({})",
    "range({})",
    "json_extract({}::json, '$.a')",
    "strftime({}, '%Y')",
    "getenv('HOME')",
    "current_setting('memory_limit')",
    "list_resize([1], {} * 100)",
    "array_agg({})",
    "string_agg({}::text, ',')",
    "sum({}) over ()",
    "unnest([{}])",
    "format('{{:>{{}}}}', {}, 100)",
    "printf('%{}d', 1)",
    "hash({})",
    "typeof({})",
    "struct_pack(a := {})",
    "case when {} is null then {} end",
    "({} in ({}))",
    "({} between {} and {})",
    "histogram({})",
    "chr({})",
    "bitstring({}::text, 10)",
    "json_execute_serialized_sql({}::text)",
    "read_text({}::text)",
    "query({}::text)",
)
TABLES = (
    "runs",
    "task_scores",
    "items",
    "models",
    "range(10)",
    "range(1000000000000)",
    "duckdb_settings()",
    "duckdb_secrets()",
    "information_schema.tables",
    "read_csv('{home}/secret.txt')",
    "read_text('{home}/*')",
    "read_blob('{items}/**')",
    "glob('{home}/**')",
    "'{home}/secret.txt'",
    "read_parquet('{home}/x.parquet')",
    "(values (1), (2)) t(a)",
    "generate_series(1, 100)",
    "sniff_csv('{home}/secret.txt')",
    "nothing_here",
    "query('select 1')",
    "query_table('runs')",
    "unnest([1, 2]) t(a)",
    "json_each('[1]')",
    "pragma_database_list()",
    "read_json('{home}/../secret.txt')",
    "read_text('{items}/../secret.txt')",
    "shipped_licenses",
)
OTHERS = (
    "copy (select 1) to '{home}/stolen.csv'",
    "copy runs from '{home}/secret.txt'",
    "attach '{home}/x.duckdb'",
    "export database '{home}/out'",
    "install httpfs",
    "load httpfs",
    "set memory_limit = '100GB'",
    "reset threads",
    "create table t (a int)",
    "create temp table t as select 1",
    "create or replace view items as select 1",
    "drop table runs",
    "delete from runs",
    "update runs set status = 'x'",
    "insert into runs default values",
    "truncate runs",
    "alter table runs add column x int",
    "vacuum",
    "checkpoint",
    "force checkpoint",
    "analyze",
    "begin",
    "commit",
    "rollback",
    "prepare p as select 1",
    "execute p",
    "deallocate p",
    "explain select 1",
    "explain analyze select 1",
    "pragma table_info('runs')",
    "pragma version",
    "pragma enable_profiling",
    "call range(3)",
    "describe runs",
    "summarize runs",
    "show tables",
    "show all tables",
    "use memory",
    "detach snapshot",
    "create macro m(a) as a",
    "create secret s (type s3)",
    "create sequence q",
    "create type e as enum ('a')",
    "merge into runs using runs as r on true when matched then delete",
    "comment on table runs is 'x'",
    "pivot runs on status using count(*)",
    "unpivot runs on n_items",
    "from runs select status",
    "table runs",
    "update extensions",
    "set variable a = 1",
    "select getvariable('item_parts')",
    "pragma database_list",
    "import database 'x'",
    "create index i on runs (run_id)",
    "set session threads = 64",
    "select * from duckdb_logs",
    "call enable_logging()",
    "pragma disable_checkpoint_on_shutdown",
    "select pg_sleep(100)",
    "select current_setting('allowed_directories')",
)
NOISE = "()[]{};,'\"$?*=<>!|&%\\\n\t\0\ud800\u202eé模 select from where 0"


def statement(draw: random.Random, places: dict[str, str]) -> str:
    """A statement; every tenth is broken somewhere."""
    kind = draw.random()
    if kind < 0.25:
        sql = draw.choice(OTHERS)
    elif kind < 0.28:
        sql = draw.choice(list(BOMBS.values()))
    else:
        sql = select(draw, depth=draw.randrange(3))
    for name, path in places.items():
        sql = sql.replace(f"{{{name}}}", path)
    if draw.random() < 0.1:
        at = draw.randrange(len(sql) + 1)
        sql = sql[:at] + "".join(draw.choices(NOISE, k=draw.randrange(1, 5))) + sql[at + draw.randrange(3) :]
    return sql


def expression(draw: random.Random, depth: int) -> str:
    if depth <= 0 or draw.random() < 0.3:
        return draw.choice(VALUES)
    call = draw.choice(CALLS)
    parts = call.replace("{{", "\x01").replace("}}", "\x02").split("{}")
    filled = parts[0] + "".join(expression(draw, depth - 1) + part for part in parts[1:])
    return filled.replace("\x01", "{").replace("\x02", "}")


def select(draw: random.Random, depth: int) -> str:
    columns = ", ".join(
        draw.choice(["*", expression(draw, 2), expression(draw, 1)]) for _ in range(draw.randrange(1, 4))
    )
    source = draw.choice(TABLES) if depth <= 0 or draw.random() < 0.6 else f"({select(draw, depth - 1)}) as s"
    sql = f"select {columns} from {source}"
    if draw.random() < 0.3:
        sql += f" where {expression(draw, 1)} = {expression(draw, 1)}"
    if draw.random() < 0.15:
        sql += " group by all"
    if draw.random() < 0.15:
        sql += f" order by {draw.choice(['random()', 'all', '1'])}"
    if draw.random() < 0.2:
        sql += f" limit {draw.choice(['10', '1000000000', '0', '-1'])}"
    if draw.random() < 0.1:
        sql = f"with c as ({sql}) select * from c"
    if draw.random() < 0.1:
        sql += f" {draw.choice(['union all', 'union', 'except', 'intersect'])} {select(draw, 0)}"
    return sql
