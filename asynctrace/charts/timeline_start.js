// WebGL where a graphics card draws it: done by the processor it is far slower than the canvas.
const gl = document.createElement("canvas").getContext("webgl2", {failIfMajorPerformanceCaveat: true})
const renderer = gl?.getExtension("WEBGL_debug_renderer_info") && gl.getParameter(0x9246) // UNMASKED_RENDERER_WEBGL
const slow = !gl || /swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer ?? gl.getParameter(gl.RENDERER))
const model = document.getElementById("model").textContent
Bokeh.embed.embed_item(JSON.parse(slow ? model.replace('"output_backend":"webgl"', '"output_backend":"canvas"') : model))
