"""What can be searched: operations, the spaces that list them, and the genotypes that a search ends in.

For others: genotypes.Genotype, genotypes.derive, published.PUBLISHED, spaces.SearchSpace, spaces.SPACES,
operations.FAMILIES, operations.family_of, operations.build.
"""
