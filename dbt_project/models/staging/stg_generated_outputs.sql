with

source as (

    select * from {{ source('lake', 'generated_outputs') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        output_id,
        brief_id,
        candidate_id,
        prompt_version,

        ---------- text
        segment,
        text,
        producer,

        ---------- numerics
        variant,
        predicted,
        rank,

        ---------- dates
        cycle,

        ---------- lists
        reference_ids

    from source

)

select * from renamed
