(module
    (func (export "run")))
