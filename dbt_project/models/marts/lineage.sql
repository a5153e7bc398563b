{{ config(meta={'by_cycle': true, 'anew': "relation not in ('answered_by', 'produced', 'reference_for')"}) }}

with

generated as (

    select * from {{ ref('stg_generated_outputs') }}

),

references_shown as (

    select * from {{ ref('int_shown_references') }}

),

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

produced as (

    select
        flywheel,
        cycle,
        'brief' as from_kind,
        brief_id as from_id,
        'answered_by' as relation,
        'output' as to_kind,
        output_id as to_id
    from generated

    union all

    select
        flywheel,
        cycle,
        'cycle' as from_kind,
        cast(cycle as varchar) as from_id,
        'produced' as relation,
        'output' as to_kind,
        output_id as to_id
    from generated

    union all

    -- To the cycle and not to each of its outputs: that would be outputs times references, hundreds of millions of
    -- edges where `produced` already leads on. Which output saw which reference is in `outputs.reference_ids`.
    select
        flywheel,
        cycle,
        'output' as from_kind,
        reference_id as from_id,
        'reference_for' as relation,
        'cycle' as to_kind,
        cast(cycle as varchar) as to_id
    from references_shown

),

final as (

    select
        produced.flywheel,
        produced.from_kind,
        produced.from_id,
        produced.relation,
        produced.to_kind,
        produced.to_id,
        produced.cycle,
        manifests.is_synthetic
    from produced
    left join manifests on produced.flywheel = manifests.flywheel and produced.cycle = manifests.cycle

    union all

    select
        flywheel,
        from_kind,
        from_id,
        relation,
        to_kind,
        to_id,
        cycle,
        is_synthetic
    from {{ ref('int_learned_edges') }}

)

select * from final
order by flywheel, cycle, relation, from_id, to_id
