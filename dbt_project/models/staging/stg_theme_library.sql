with

source as (

    select * from {{ source('lake', 'theme_library') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        theme_id,
        merged_into,
        parent_id,

        ---------- text
        status,
        name,
        summary,
        example_ids,
        examples,

        ---------- numerics
        coherence,
        n_tickets,

        ---------- dates
        cycle,
        founded,
        last_seen

    from source

)

select * from renamed
