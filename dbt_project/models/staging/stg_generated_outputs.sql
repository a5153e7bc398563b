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
        request_key,
        candidate_id,
        prompt_version,

        ---------- text
        segment,
        arm,
        text,
        content,
        producer,
        model,
        blocked,
        soft_scores,

        ---------- numerics
        variant,
        attempt,
        predicted,
        soft_score,
        rank,
        n_references_dropped,

        ---------- booleans
        is_superseded,

        ---------- dates
        cycle,

        ---------- lists
        reference_ids

    from source

)

select * from renamed
