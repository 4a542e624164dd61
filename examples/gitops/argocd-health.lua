-- Health of deeptrain.dev DeepModels and Datasets for Argo CD. In the ConfigMap argocd-cm, for each kind:
--   resource.customizations.health.deeptrain.dev_DeepModel: |
--     <this file>
local function condition(kind)
  if obj.status ~= nil and obj.status.conditions ~= nil then
    for _, each in ipairs(obj.status.conditions) do
      if each.type == kind then
        return each
      end
    end
  end
  return { status = "", message = "waiting for the operator" }
end

local ready = condition("Ready")
local health = { status = "Progressing", message = ready.message }
local generation = obj.metadata.generation
if obj.status == nil or obj.status.observedGeneration ~= generation then
  health.message = "waiting for the operator"
elseif condition("Stalled").status == "True" then
  health.status = "Degraded"
elseif ready.status == "True" then
  health.status = "Healthy"
elseif obj.spec.suspend == true then
  health.status = "Suspended"
end
return health
