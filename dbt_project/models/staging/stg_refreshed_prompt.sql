with

source as (

    select * from {{ source('lake', 'refreshed_prompt') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        prompt_version,
        parent_version,
        frame_version,
        corpus_version,
        template_hash,

        ---------- text
        author,
        frame,
        text,

        ---------- numerics
        n_references,

        ---------- booleans
        is_changed,

        ---------- dates
        cycle

    from source

)

select * from renamed
