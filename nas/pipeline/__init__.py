"""What every stage does around its computation: parameters, files, errors, records. Nothing here changes a number.

For others: params.load, params.Params, stage.run, files.whole_file and its kin, errors.UserError.
"""
