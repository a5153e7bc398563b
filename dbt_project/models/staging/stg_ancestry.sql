with

source as (

    select * from {{ source('lake', 'ancestry') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        output_id,

        ---------- text
        text_hash,

        ---------- numerics
        depth,
        mean_depth,
        n_references,
        n_unknown,

        ---------- dates
        cycle

    from source

)

select * from renamed
