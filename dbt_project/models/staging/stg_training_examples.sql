with

source as (

    select * from {{ source('lake', 'training_examples') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        example_id,
        brief_id,
        chosen_id,
        rejected_id,
        prompt_version,
        line_hash,

        ---------- text
        kind,
        split,
        segment,
        locale,
        source,
        model,
        reason,

        ---------- numerics
        line,
        p_better,

        ---------- dates
        cycle,
        source_cycle

    from source

)

select * from renamed
