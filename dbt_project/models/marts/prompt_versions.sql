with

versions as (

    select * from {{ ref('stg_prompt_versions') }}

),

frames as (

    select * from {{ ref('stg_prompt_frames') }}

),

used as (

    select
        flywheel,
        prompt_version,
        list(distinct arm order by arm) as arms,
        count(distinct cycle) as n_cycles,
        min(cycle) as first_cycle,
        max(cycle) as last_cycle,
        bool_or(is_synthetic) as is_synthetic
    from {{ ref('prompts_used') }}
    group by 1, 2

),

final as (

    select

        ---------- ids
        versions.flywheel,
        versions.prompt_version,
        versions.parent_version,
        versions.frame_version,
        versions.corpus_version,

        ---------- what it is
        versions.author,
        frames.author as frame_author,
        versions.frame as text,
        case
            when json_valid(versions.shown_references)
                then json_extract_string(versions.shown_references, '$[*].reference_id')
        end as reference_ids,
        json_array_length(frames.guidelines)::bigint as n_guidelines,
        versions.recorded_at,

        ---------- where it was used
        coalesce(used.arms, []) as arms,
        coalesce(used.n_cycles, 0) as n_cycles,
        used.first_cycle,
        used.last_cycle,
        used.is_synthetic

    from versions
    left join frames on versions.flywheel = frames.flywheel and versions.frame_version = frames.frame_version
    left join used on versions.flywheel = used.flywheel and versions.prompt_version = used.prompt_version

)

select * from final
order by flywheel, recorded_at, prompt_version
