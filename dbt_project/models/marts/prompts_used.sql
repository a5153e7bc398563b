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

    unpivot (
        select
            flywheel,
            cycle,
            is_synthetic,
            prompt_version as flywheel_arm,
            control_prompt_version as control_arm,
            challenger_prompt_version as challenger_arm
        from manifests
    )
    on flywheel_arm, control_arm, challenger_arm
    into name arm value prompt_version

),

final as (

    select

        ---------- ids
        pinned.flywheel,
        pinned.cycle,
        replace(pinned.arm, '_arm', '') as arm,
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

)

select * from final
order by flywheel, cycle, arm
