{{ config(meta={'by_cycle': true}) }}

-- A first close restates nothing, so what the oldest restatement found is what was known first.
with

restatements as (

    select * from {{ ref('stg_restatements') }}

),

final as (

    select

        ---------- ids
        flywheel,
        cycle,
        output_id,
        subject,
        metric,

        ---------- what the first close said; a struct, since arg_min passes over nulls
        arg_min({'value': old_value}, recorded_at).value as first_value,
        arg_min({'exposure': old_exposure}, recorded_at).exposure as first_exposure,
        arg_min({'decision': old_decision}, recorded_at).decision as first_decision,

        ---------- since then
        count(*) as n_restatements,
        max(recorded_at) as last_restated_at

    from restatements
    group by 1, 2, 3, 4, 5

)

select * from final
order by flywheel, cycle, output_id, subject, metric
