-- Edges between what spans cycles: an edge may hold in many of them (a corpus that stays the same), and it is one edge,
-- dated when it first held.
with

manifests as (

    select
        *,
        cast(cycle as varchar) as cycle_id
    from {{ ref('stg_cycle_manifest') }}

),

corpus as (

    select * from {{ ref('stg_reference_corpus') }}

),

prompts as (

    select * from {{ ref('stg_refreshed_prompt') }}

),

briefs as (

    select * from {{ ref('stg_briefs') }}

),

generated as (

    select * from {{ ref('stg_generated_outputs') }}

),

-- What a prompt holds ready; for one brief it may show fewer, which `reference_for` and `outputs.reference_ids` tell.
held_ready as (

    select
        flywheel,
        prompt_version,
        unnest(
            case when json_valid(shown_references) then json_extract_string(shown_references, '$[*].reference_id') end
        ) as reference_id
    from {{ ref('stg_prompt_versions') }}

),

pinned as (

    select
        flywheel,
        cycle,
        cycle_id as to_id,
        unnest(['corpus', 'scoring_model', 'threshold']) as from_kind,
        unnest([corpus_version, scoring_model_version, threshold_version]) as from_id
    from manifests

),

prompts_of_arms as (

    select
        flywheel,
        cycle,
        unnest([
            prompt_version,
            control_prompt_version,
            challenger_prompt_version,
            no_references_prompt_version,
            no_guidelines_prompt_version
        ]) as prompt_version
    from manifests

),

learned as (

    select
        flywheel,
        cycle,
        'output' as from_kind,
        reference_id as from_id,
        'entered' as relation,
        'corpus' as to_kind,
        corpus_version as to_id
    from corpus

    union all

    select
        flywheel,
        cycle,
        'corpus' as from_kind,
        corpus_version as from_id,
        'rendered_into' as relation,
        'prompt' as to_kind,
        prompt_version as to_id
    from prompts

    union all

    select
        flywheel,
        cycle,
        'prompt' as from_kind,
        parent_version as from_id,
        'revised_into' as relation,
        'prompt' as to_kind,
        prompt_version as to_id
    from prompts
    where parent_version is not null and is_changed

    union all

    select distinct
        prompts_of_arms.flywheel,
        prompts_of_arms.cycle,
        'output' as from_kind,
        held_ready.reference_id as from_id,
        'shown_in' as relation,
        'prompt' as to_kind,
        prompts_of_arms.prompt_version as to_id
    from prompts_of_arms
    inner join held_ready
        on
            prompts_of_arms.flywheel = held_ready.flywheel
            and prompts_of_arms.prompt_version = held_ready.prompt_version

    union all

    -- From one flywheel to another: the brief is called by the id of the output that it is about, and ids of outputs
    -- are hashes that hold the flywheel. What follows the id says which of several briefs it is. What was replaced since
    -- is no longer published, but was taken up; `outputs.is_superseded` tells.
    select distinct
        briefs.flywheel,
        briefs.cycle,
        'output' as from_kind,
        generated.output_id as from_id,
        'taken_up_as' as relation,
        'brief' as to_kind,
        briefs.brief_id as to_id
    from briefs
    inner join generated
        on
            split_part(briefs.brief_id, '.', 1) = generated.output_id
            and briefs.flywheel <> generated.flywheel

),

edges as (

    select * from learned
    union all
    select
        flywheel,
        cycle,
        from_kind,
        from_id,
        'pinned_by' as relation,
        'cycle' as to_kind,
        to_id
    from pinned
    -- What the first cycle writes where nothing has been learned yet: no version, so no edge.
    where from_id <> 'none'
    union all
    select
        flywheel,
        cycle,
        'prompt' as from_kind,
        prompt_version as from_id,
        'pinned_by' as relation,
        'cycle' as to_kind,
        cast(cycle as varchar) as to_id
    from prompts_of_arms
    where prompt_version is not null

),

dated as (

    select
        flywheel,
        from_kind,
        from_id,
        relation,
        to_kind,
        to_id,
        min(cycle) as cycle
    from edges
    group by 1, 2, 3, 4, 5, 6

),

final as (

    select
        dated.*,
        manifests.is_synthetic
    from dated
    left join manifests on dated.flywheel = manifests.flywheel and dated.cycle = manifests.cycle

)

select * from final
order by flywheel, cycle, relation, from_id, to_id
