-- Corpora by when they were in force. A close replaces what an earlier close of its cycle said, so the past is read from
-- what no close touches: the prompts that cycles were opened with, each with its references.
with

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

instants as (

    select * from {{ ref('int_cycle_instants') }}

),

versions as (

    select * from {{ ref('stg_prompt_versions') }}

),

corpus as (

    select * from {{ ref('stg_reference_corpus') }}

),

facts as (

    select
        flywheel,
        max(recorded_at) as newest_at
    from {{ ref('stg_batches') }}
    where feed is not null
    group by 1

),

last_closed as (

    select
        flywheel,
        max(cycle) as cycle,
        arg_max(corpus_version, cycle) as corpus_version
    from {{ ref('stg_refreshed_prompt') }}
    group by 1

),

opened as (

    select
        manifests.flywheel,
        manifests.predecessor as cycle,
        manifests.corpus_version,
        manifests.prompt_version,
        'opening' as known_by,
        -- A cycle that was produced anew with another prompt knows that one from then on.
        greatest(instants.opened_at, versions.recorded_at) as known_from
    from manifests
    inner join instants on manifests.flywheel = instants.flywheel and manifests.cycle = instants.cycle
    left join versions
        on manifests.flywheel = versions.flywheel and manifests.prompt_version = versions.prompt_version

),

closed as (

    select
        last_closed.flywheel,
        last_closed.cycle,
        last_closed.corpus_version,
        null as prompt_version,
        'close' as known_by,
        greatest(instants.opened_at, facts.newest_at) as known_from
    from last_closed
    inner join instants on last_closed.flywheel = instants.flywheel and last_closed.cycle = instants.cycle
    left join facts on last_closed.flywheel = facts.flywheel

),

states as (

    select * from opened
    union all
    select * from closed

),

dated as (

    select
        *,
        lead(known_from) over (
            partition by flywheel order by known_from asc, cycle asc nulls first, known_by desc
        ) as known_until
    from states

),

shown as (

    select
        flywheel,
        prompt_version,
        unnest(
            case when json_valid(shown_references) then from_json(
                shown_references,
                '[{"reference_id": "VARCHAR", "segment": "VARCHAR", "text": "VARCHAR", "rank": "BIGINT"}]'
            ) end
        ) as reference
    from versions

),

held as (

    select
        dated.*,
        shown.reference.reference_id,
        shown.reference.segment,
        shown.reference.text,
        shown.reference.rank
    from dated
    inner join shown on dated.flywheel = shown.flywheel and dated.prompt_version = shown.prompt_version
    where dated.known_by = 'opening'

    union all

    select
        dated.*,
        corpus.reference_id,
        corpus.segment,
        corpus.text,
        corpus.rank
    from dated
    inner join corpus on dated.flywheel = corpus.flywheel and dated.cycle = corpus.cycle
    where dated.known_by = 'close'

),

final as (

    select

        ---------- ids
        flywheel,
        cycle,
        corpus_version,
        reference_id,

        ---------- what it is
        segment,
        text,
        rank,

        ---------- when it was in force
        known_by,
        known_from,
        known_until

    from held
    where known_until is null or known_from < known_until

)

select * from final
order by flywheel, known_from, rank, reference_id
