--[[
  AOFlagger strategy for DSA-110: short observations, amplitudes of noise and fringes.

  SumThreshold (Offringa et al. 2010, MNRAS 405, 155) in rounds of growing sensitivity; between
  them, what is smooth in time and frequency (a bright source) is taken away. The generic
  strategies forget the flags of their input, cut whole integrations by their rms, and write
  tables of statistics into the Measurement Set: this one does none of these.

  The caller defines base_threshold, in units of AOFlagger's own thresholds, and rank_level, the
  share of clean samples that the scale-invariant rank operator may flag along with bad ones.
]]--

aoflagger.require_min_version("3.0")

function subtract_smooth(data, original)
  data:set_visibilities(original)
  local smooth = aoflagger.downsample(data, 3, 1.0, true)
  aoflagger.low_pass_filter(smooth, 21, 31, 2.5, 5.0)
  aoflagger.upsample(smooth, data, 3, 1.0)
  local residual = original - data
  residual:set_mask(data)
  return residual
end

function execute(input)
  local as_given = input:copy()
  for _, polarization in ipairs(input:get_polarizations()) do
    local data = input:convert_to_polarization(polarization):convert_to_complex("amplitude")
    local original = data:copy()
    for _, factor in ipairs({ 4.0, 2.0 }) do
      local level = factor * base_threshold
      aoflagger.sumthreshold(data, level, level, true, true)
      data = subtract_smooth(data, original)
    end
    aoflagger.sumthreshold(data, base_threshold, base_threshold, true, true)
    input:set_polarization_data(polarization, data:convert_to_complex("complex"))
  end
  aoflagger.scale_invariant_rank_operator_masked(input, as_given, rank_level, rank_level)
  input:join_mask(as_given)
  input:flag_nans()
end
