{#
    Incremental publishes. `lake/publish.py` starts from the file that was published before and says which cycles of
    which flywheel the lake has changed since (`touched_lake.touched_cycles`). Every model is made anew, whole, but for
    those that say otherwise in their `meta`:

        by_cycle: true          Makes every row of a cycle from rows of that cycle, and from small models that are made
                                anew: only the rows of the touched cycles are replaced.
        anew: a condition       Of a model that is kept by cycle: which of its rows depend on other cycles too. All of
                                these are replaced, of whichever cycle.
        across_cycles: true     Of a model that is kept by cycle: who reads it looks at the rows of all cycles, also
                                when kept by cycle itself.

    Schemas of such a publish, dropped before the file is seen:
        touched_lake    the lake's tables, of the touched cycles alone
        touched         the staging models over these; the touched rows of the models that are kept by cycle

    A full publish of a large lake makes the models that are kept by cycle in the same way, slice by slice: what joins and
    sorts then hold in memory does not grow with the history. Each slice has two such schemas, with its number: touched_1.
#}
{% macro is_incremental_publish() %}
    {% do return(env_var("FLYWHEEL_INCREMENTAL", "") == "yes") %}
{% endmacro %}

{# Slices that a full publish goes through; 0 when it goes through all of the lake at once. #}
{% macro n_slices() %}
    {% do return(env_var("FLYWHEEL_SLICES", "0") | int) %}
{% endmacro %}

{# SQL about touched cycles, about those of a slice. #}
{% macro of_slice(sql, number) %}
    {% set named = sql | replace('"touched".', '"touched_' ~ number ~ '".') %}
    {% do return(named | replace('"touched_lake".', '"touched_lake_' ~ number ~ '".')) %}
{% endmacro %}

{% macro is_by_cycle(node) %}
    {% do return(node.config.meta.get("by_cycle", false)) %}
{% endmacro %}

{% macro touched(relation) %}
    {% do return(api.Relation.create(schema="touched", identifier=relation.identifier)) %}
{% endmacro %}

{# All rows of a model, whatever `ref` gave. #}
{% macro whole(relation) %}
    {% if not execute or relation.schema != "touched" %}{% do return(relation) %}{% endif %}
    {% set node = graph.nodes["model.flywheel_warehouse." ~ relation.identifier] %}
    {% do return(api.Relation.create(schema=node.schema, identifier=node.alias)) %}
{% endmacro %}

{# Two columns and not one pair of them: by the date alone DuckDB passes over the row groups of other cycles. #}
{% macro is_in_touched_cycle() %}
(flywheel, cycle) in (select flywheel, cycle from "touched_lake".touched_cycles)
{% endmacro %}

{# The rows of the model that is rendered which an incremental publish makes. #}
{% macro is_made_anew() %}
({{ is_in_touched_cycle() }}{% if model.config.meta.anew %} or {{ model.config.meta.anew }}{% endif %})
{% endmacro %}

{# Whether the node that is rendered reads a model's touched rows and not all of them. #}
{% macro reads_touched(name) %}
    {% set parent = graph.nodes["model.flywheel_warehouse." ~ name] %}
    {% if model.resource_type == "test" %}
        {% do return(parent.config.materialized == "view" or is_by_cycle(parent)) %}
    {% endif %}
    {% set has_touched = parent.config.materialized == "view" or is_by_cycle(parent) %}
    {% do return(is_by_cycle(model) and has_touched and not parent.config.meta.across_cycles) %}
{% endmacro %}

{# Whether the node that is rendered tests each row, or each cycle, of the lake by itself: what it found of a cycle that was
   not touched still holds. Links of outputs are not kept by the cycle that published these. #}
{% macro tests_cycle_by_cycle() %}
    {% set test = model.get("test_metadata") or {} %}
    {% set arguments = test.get("kwargs", {}) %}
    {% if test.get("name") in ["holds_for_every_row", "holds", "in_range", "rate_within_exposure"] %}
        {% do return(true) %}
    {% elif test.get("name") == "unique_combination" %}
        {% do return("cycle" in arguments.columns) %}
    {% endif %}
    {% do return(test.get("name") == "published_in_its_cycle" and arguments.cycle == "cycle") %}
{% endmacro %}

{#
    A publish builds into a new file, so a table takes the place of another relation only when it is made anew as a whole,
    and then in one statement. dbt's own materialization makes it under another name and renames.
#}
{% materialization table, adapter="duckdb" %}
    {%- set target_relation = this.incorporate(type="table") -%}
    {%- set by_cycle = is_by_cycle(model) and is_incremental_publish() -%}
    {{ run_hooks(pre_hooks) }}
    {% if by_cycle %}
        {% call statement("main") -%}
            delete from {{ target_relation }} where {{ is_in_touched_cycle() }};
            {% if model.config.meta.anew %}
            delete from {{ target_relation }} where {{ model.config.meta.anew }};
            {% endif %}
            insert into {{ target_relation }} by name
            select * from ({{ sql }}
            ) where {{ is_made_anew() }};
            {{ view_of_touched(target_relation) }}
        {%- endcall %}
    {% else %}
        {% if is_incremental_publish() %}
            {% do run_query("drop table if exists " ~ target_relation) %}
        {% endif %}
        {% if is_by_cycle(model) and n_slices() %}
            {% do make_slices(target_relation, sql) %}
        {% else %}
            {% call statement("main") -%}
                {{ create_table_as(False, target_relation, sql) }}
            {%- endcall %}
        {% endif %}
        {% do persist_docs(target_relation, model) %}
    {% endif %}
    {{ run_hooks(post_hooks) }}
    {{ adapter.commit() }}
    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}

{% macro view_of_touched(relation) %}
create or replace view {{ touched(relation) }} as
select * from {{ relation.include(database=false) }} where {{ is_in_touched_cycle() }};
{% endmacro %}

{# Make a table from the rows of one slice after the other. What depends on several cycles comes with the first. #}
{% macro make_slices(relation, sql) %}
    {% set rows = "select * from (" ~ sql ~ "\n) where " %}
    {% set others = is_in_touched_cycle() ~ (" and not (" ~ model.config.meta.anew ~ ")" if model.config.meta.anew else "") %}
    {% call statement("main") -%}
        {{ create_table_as(False, relation, of_slice(rows ~ is_made_anew(), 1)) }}
        {{ of_slice(view_of_touched(relation), 1) }}
    {%- endcall %}
    {% for number in range(2, n_slices() + 1) %}
        {% call statement("slice") -%}
            insert into {{ relation }} by name {{ of_slice(rows ~ others, number) }};
            {{ of_slice(view_of_touched(relation), number) }}
        {%- endcall %}
    {% endfor %}
{% endmacro %}
