{#
    What a model's YAML says of its columns under `config.meta.rules`, and of its key, tested in one query. A test per
    column and rule reads the rows as often, and costs dbt more than DuckDB.

        not_null: true               a value in every row
        values: [a, b]               one of these; nulls pass
        at_least: 0, at_most: 1      within these, both ends included; nulls pass
        key (of the test)            no two rows share all of these columns

    Gives a row per broken rule and row of the model: which column, which rule, what was found, and the key. A rule that
    is not of these is refused.
#}
{% test keeps_its_rules(model, key) %}
{% set conditions = rule_conditions(context["model"]["attached_node"]) if execute else [] %}
with examined as not materialized (
    select {{ (key + conditions | map(attribute=0) | list) | unique | join(", ") }}
    from {{ model }}
)
{% if conditions %}
, faults as (
    select
        {{ key | join(", ") }},
        unnest([
            {% for column, rule, broken in conditions %}
            case when {{ broken }} then {
                'broken_column': '{{ column }}',
                'broken_rule': '{{ rule | replace("'", "''") }}',
                'found': cast({{ column }} as varchar)
            } end{{ "," if not loop.last }}
            {% endfor %}
        ]) as fault
    from examined
    -- Few rows break a rule: only those are looked at one rule after the other.
    where
        {% for column, rule, broken in conditions %}
        {{ "or " if not loop.first }}{{ broken }}
        {% endfor %}
)
{% endif %}
{% if conditions %}
select
    fault.broken_column,
    fault.broken_rule,
    fault.found,
    {{ key | join(", ") }}
from faults
where fault is not null
union all
{% endif %}
select
    '{{ key | join(", ") }}' as broken_column,
    'unique' as broken_rule,
    count(*) || ' rows' as found,
    {{ key | join(", ") }}
from {{ with_other_cycles(key) }}
group by {{ key | join(", ") }}
having count(*) > 1
{% endtest %}

{# The rows among which a key is looked for twice. A key without the cycle may be in one that was not touched. #}
{% macro with_other_cycles(key) %}
{% set node = graph.nodes[context["model"]["attached_node"]] if execute else none %}
{% if node and is_incremental_publish() and is_by_cycle(node) and "cycle" not in key %}
(
    select {{ key | join(", ") }}
    from "{{ node.schema }}"."{{ node.alias }}" as kept
    semi join examined
        on
        {% for column in key %}
        {# An equality lets DuckDB pass over rows; it would pass over nulls, too. #}
        {% set is_filled = node.columns[column].meta.get("rules", {}).get("not_null") %}
        kept.{{ column }} {{ "=" if is_filled else "is not distinct from" }} examined.{{ column }}
        {{ "and" if not loop.last }}
        {% endfor %}
) as examined
{% else %}
examined
{% endif %}
{% endmacro %}

{# The rules of a model's columns as a list of (column, rule in words, SQL that is true for a row that breaks it). #}
{% macro rule_conditions(node) %}
    {% set found = [] %}
    {% for column in graph.nodes[node].columns.values() %}
        {% for rule, given in column.meta.get("rules", {}).items() %}
            {% if rule == "not_null" and given is true %}
                {% set broken = column.name ~ " is null" %}
            {% elif rule == "values" and given is sequence and given is not string %}
                {% set broken = column.name ~ " not in ('" ~ given | map("replace", "'", "''") | join("', '") ~ "')" %}
            {% elif rule == "at_least" and given is number %}
                {% set broken = column.name ~ " < " ~ given %}
            {% elif rule == "at_most" and given is number %}
                {% set broken = column.name ~ " > " ~ given %}
            {% else %}
                {% do exceptions.raise_compiler_error(
                    node.split(".")[-1] ~ ", column " ~ column.name ~ ": the rule '" ~ rule ~ ": " ~ given
                    ~ "' is not known. Known are not_null: true, values: [...], at_least: number, at_most: number; "
                    ~ "anything else is a test of its own."
                ) %}
            {% endif %}
            {% set words = rule if rule == "not_null" else rule ~ " " ~ given | join(", ") if rule == "values" else rule ~ " " ~ given %}
            {% do found.append((column.name, words, broken)) %}
        {% endfor %}
    {% endfor %}
    {% do return(found) %}
{% endmacro %}
