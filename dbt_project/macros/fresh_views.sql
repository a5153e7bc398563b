{#
    A publish builds into a new file, so a view never takes the place of another relation: it is created, with its
    descriptions, in one statement. dbt's own materialization looks for what to rename and to drop, view by view.
#}
{% materialization view, adapter="duckdb" %}
    {%- set target_relation = this.incorporate(type="view") -%}
    {{ run_hooks(pre_hooks) }}
    {% call statement("main") -%}
        {# An incremental publish starts from a file that has the view. #}
        {% if not is_incremental_publish() %}
        create or replace view {{ target_relation }} as (
            {{ sql }}
        );
        {% if config.persist_relation_docs() and model.description %}
            {{ alter_relation_comment(target_relation, model.description) }}
        {% endif %}
        {% if config.persist_column_docs() and model.columns %}
            {{ alter_column_comment(target_relation, model.columns) }}
        {% endif %}
        {% endif %}
        {% set view_of_touched = "create view " ~ touched(target_relation) ~ " as (" ~ sql ~ "\n);" %}
        {% set view_of_touched = view_of_touched | replace('"lake".', '"touched_lake".') %}
        {% if is_incremental_publish() %}
            {{ view_of_touched }}
        {% endif %}
        {% for number in range(1, n_slices() + 1) %}
            {{ of_slice(view_of_touched, number) }}
        {% endfor %}
    {%- endcall %}
    {{ run_hooks(post_hooks) }}
    {{ adapter.commit() }}
    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}

{# A description of a column that the relation lacks is an error here, and not passed over. #}
{% macro duckdb__alter_column_comment(relation, column_dict) %}
    {% for name, column in column_dict.items() %}
        comment on column {{ relation }}.{{ adapter.quote(name) if column["quote"] else name }}
            is {{ duckdb_escape_comment(column["description"]) }};
    {% endfor %}
{% endmacro %}
