{#
    Models that are kept by cycle are made from slices of the lake, or of touched cycles alone. A cycle that was passed over
    breaks no rule of any row, so its rows are counted: here, and in the lake. Also of cycles that nobody touched.

        of, and_of      what has a row for each row of the model
        n_rows          how many of these rows a row of the model stands for, as an aggregate
        condition       which rows of the model stand for any

    Gives a row per flywheel and cycle with another number.
#}
{% test has_every_cycle_of(model, of, and_of=none, n_rows="count(*)", condition="true") %}
with made as (
    select
        flywheel,
        cycle,
        {{ n_rows }} as n_rows
    from {{ whole_model(context["model"]["attached_node"], model) }}
    where {{ condition }}
    group by all
),

lake as (
    select flywheel, cycle, sum(n_rows) as n_rows
    from (
        {% for part in [of, and_of] if part %}
        select flywheel, cycle, count(*) as n_rows from {{ whole(part) }} group by all
        {{ "union all" if not loop.last }}
        {% endfor %}
    ) as parts
    group by all
)

select
    flywheel,
    cycle,
    coalesce(made.n_rows, 0)::bigint as n_rows,
    coalesce(lake.n_rows, 0)::bigint as n_rows_in_the_lake
from lake
full join made using (flywheel, cycle)
where coalesce(made.n_rows, 0) <> coalesce(lake.n_rows, 0)
order by flywheel, cycle
{% endtest %}

{# All rows of the model that a test is attached to, where `ref` gave the touched ones. #}
{% macro whole_model(key, relation) %}
    {% if not execute %}{% do return(relation) %}{% endif %}
    {% set node = graph.nodes[key] %}
    {% do return(api.Relation.create(schema=node.schema, identifier=node.alias)) %}
{% endmacro %}
