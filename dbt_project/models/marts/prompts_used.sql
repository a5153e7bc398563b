with

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

versions as (

    select * from {{ ref('stg_prompt_versions') }}

),

frames as (

    select * from {{ ref('stg_prompt_frames') }}

),

pinned as (

    select
        flywheel,
        cycle,
        is_synthetic,
        unnest(['flywheel', 'control', 'challenger', 'no_references', 'no_guidelines']) as arm,
        unnest([
            prompt_version,
            control_prompt_version,
            challenger_prompt_version,
            no_references_prompt_version,
            no_guidelines_prompt_version
        ]) as prompt_version
    from manifests

),

final as (

    select

        ---------- ids
        pinned.flywheel,
        pinned.cycle,
        pinned.arm,
        pinned.prompt_version,
        versions.parent_version,
        versions.frame_version,
        versions.corpus_version,

        ---------- what it is
        versions.author,
        frames.author as frame_author,
        json_array_length(versions.shown_references)::bigint as n_references,
        json_array_length(frames.guidelines)::bigint as n_guidelines,
        pinned.is_synthetic

    from pinned
    left join versions
        on pinned.flywheel = versions.flywheel and pinned.prompt_version = versions.prompt_version
    left join frames
        on versions.flywheel = frames.flywheel and versions.frame_version = frames.frame_version
    where pinned.prompt_version is not null

)

select * from final
order by flywheel, cycle, arm
