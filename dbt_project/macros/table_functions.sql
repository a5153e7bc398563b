{#
    Table functions of the published file: `select * from performance_as_known('2026-02-01')`. They read tables alone and
    no view of the lake, so that they work wherever the file is. A mart's post-hook creates those that belong to it, once
    the tables are there: DuckDB refuses a function over a table that does not exist. Like views, functions name schema
    and table only; see relations_without_catalog.sql. A model that is kept by cycle may create one: `whole` says that the
    function reads all rows all the same.
#}

{# A table function with its comment. #}
{% macro table_function(name, parameter, comment, body) %}
create or replace macro main.{{ name }}({{ parameter }}) as table
{{ body }};
comment on macro table main.{{ name }} is '{{ comment | replace("'", "''") }}';
{% endmacro %}

{# A date, a timestamp or their text as an instant; without an offset it is UTC, as in `knowledge_cutoff`, whatever the
   time zone of the session that asks. #}
{% macro as_instant(moment) %}
case
    when regexp_matches({{ moment }}::varchar, ':\d\d.*([+-]\d\d(:?\d\d)?|Z)$') then {{ moment }}::varchar::timestamptz
    else {{ moment }}::varchar::timestamp at time zone 'UTC'
end
{% endmacro %}
