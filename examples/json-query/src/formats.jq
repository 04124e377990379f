# The formats of jq that jaq's standard library leaves out.

def @csv:
  map(if type == "string" then "\"\(gsub("\""; "\"\""))\""
      elif . == null then ""
      elif type == "array" or type == "object" then error("\(type) can't be a cell of a table")
      else tojson end)
  | join(",");

def @tsv:
  map(if type == "string"
      then gsub("\\\\"; "\\\\") | gsub("\t"; "\\t") | gsub("\n"; "\\n") | gsub("\r"; "\\r")
      elif . == null then ""
      elif type == "array" or type == "object" then error("\(type) can't be a cell of a table")
      else tojson end)
  | join("\t");
