{{ config(meta={'by_cycle': true}, post_hook=["{{ restatement_functions() }}"]) }}

with

restatements as (

    select * from {{ ref('stg_restatements') }}

),

batches as (

    select * from {{ ref('stg_batches') }}

),

generated as (

    select * from {{ ref('stg_generated_outputs') }}

),

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

caused as (

    select distinct
        flywheel,
        batch_id,
        unnest(caused_by) as cause
    from restatements

),

sources as (

    select
        caused.flywheel,
        caused.batch_id,
        list(distinct batches.source order by batches.source) as causes
    from caused
    inner join batches on caused.flywheel = batches.flywheel and caused.cause = batches.batch_id
    group by 1, 2

),

final as (

    select

        ---------- ids
        restatements.flywheel,
        restatements.cycle,
        restatements.output_id,
        restatements.subject,
        restatements.metric,
        restatements.batch_id,
        generated.segment,
        manifests.is_synthetic,

        ---------- what changed
        restatements.old_value,
        restatements.new_value,
        restatements.old_exposure,
        restatements.new_exposure,
        restatements.old_decision,
        restatements.new_decision,
        (restatements.old_threshold is distinct from restatements.new_threshold) as is_rejudged,

        ---------- why
        restatements.recorded_at,
        coalesce(sources.causes, []) as causes

    from restatements
    left join sources
        on restatements.flywheel = sources.flywheel and restatements.batch_id = sources.batch_id
    left join generated
        on
            restatements.flywheel = generated.flywheel
            and restatements.cycle = generated.cycle
            and restatements.output_id = generated.output_id
    left join manifests
        on restatements.flywheel = manifests.flywheel and restatements.cycle = manifests.cycle

)

select * from final
order by flywheel, recorded_at, cycle, output_id, subject, metric, batch_id
