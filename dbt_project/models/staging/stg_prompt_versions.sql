with

source as (

    select * from {{ source('lake', 'prompt_versions') }}

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
        batch_id,

        ---------- text
        author,
        frame,
        shown_references,

        ---------- numerics
        source_row,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
