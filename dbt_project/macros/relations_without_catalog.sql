{#
    A DuckDB catalog is named after its file. A view that names the catalog breaks as soon as the file is renamed or
    attached under another name ('Catalog "x" does not exist'), so views name schema and table only.

    An incremental publish (by_cycle.sql) has what its cycles hold in a schema of its own: there a model that is kept by
    cycle reads the lake, and a test reads what it is about. So with the slices of a full publish, but its tests read all.
#}
{% macro ref() %}
    {% set relation = builtins.ref(*varargs, **kwargs).include(database=false) %}
    {% set is_sliced = n_slices() > 0 and model.resource_type == "model" %}
    {% if execute and (is_incremental_publish() or is_sliced) and reads_touched(varargs[-1]) %}
        {% set relation = touched(relation) %}
    {% endif %}
    {% do return(relation) %}
{% endmacro %}

{% macro source() %}
    {% set relation = builtins.source(*varargs, **kwargs).include(database=false) %}
    {% if execute and is_incremental_publish() and tests_cycle_by_cycle() %}
        {% set relation = api.Relation.create(schema="touched_lake", identifier=relation.identifier) %}
    {% endif %}
    {% do return(relation) %}
{% endmacro %}
