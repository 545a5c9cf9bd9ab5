#pragma once

#include <cctype>
#include <cstddef>
#include <string>
#include <vector>

namespace attune::test {

/// Why `text` is not well-formed XML, or an empty string if it is: tags are closed in order,
/// attributes are quoted and not repeated, and & begins a known entity. A document type
/// declaration is passed over; there are no comments, CDATA or processing instructions.
inline std::string xml_error(const std::string& text) {
  std::vector<std::string> open;
  std::size_t i = 0;
  bool root_seen = false;
  const auto is_name = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == ':';
  };
  const auto read_name = [&] {
    const std::size_t begin = i;
    while (i < text.size() && is_name(text[i])) ++i;
    return text.substr(begin, i - begin);
  };
  const auto bad_entity = [&](std::size_t at) {
    for (const char* entity : {"&amp;", "&lt;", "&gt;", "&quot;"}) {
      if (text.compare(at, std::string(entity).size(), entity) == 0) return false;
    }
    return true;
  };
  const auto skip_space = [&] {
    while (i < text.size() && std::isspace(static_cast<unsigned char>(text[i])) != 0) ++i;
  };
  if (text.compare(0, 9, "<!DOCTYPE") == 0) i = text.find('>') + 1;
  while (i < text.size()) {
    const std::string where = " at byte " + std::to_string(i);
    if (text[i] == '&' && bad_entity(i)) return "bad entity" + where;
    if (text[i] == '>') return "stray >" + where;
    if (text[i] != '<') {
      if (open.empty() && std::isspace(static_cast<unsigned char>(text[i])) == 0) {
        return "text outside the root" + where;
      }
      ++i;
      continue;
    }
    ++i;
    if (text[i] == '/') {
      ++i;
      const std::string name = read_name();
      if (open.empty() || open.back() != name) return "unexpected </" + name + ">" + where;
      open.pop_back();
      if (text[i++] != '>') return "bad closing tag" + where;
      continue;
    }
    const std::string name = read_name();
    if (name.empty()) return "tag without a name" + where;
    if (open.empty() && root_seen) return "second root" + where;
    root_seen = true;
    std::vector<std::string> attributes;
    for (skip_space(); i < text.size() && is_name(text[i]); skip_space()) {
      const std::string attribute = read_name();
      for (const std::string& other : attributes) {
        if (other == attribute) return "repeated attribute " + attribute + where;
      }
      attributes.push_back(attribute);
      if (text.compare(i, 2, "=\"") != 0) return "attribute without quotes" + where;
      for (i += 2; i < text.size() && text[i] != '"'; ++i) {
        if (text[i] == '<') return "< in an attribute" + where;
        if (text[i] == '&' && bad_entity(i)) return "bad entity in an attribute" + where;
      }
      ++i;
    }
    if (text.compare(i, 2, "/>") == 0) {
      i += 2;
    } else if (text[i] == '>') {
      ++i;
      open.push_back(name);
    } else {
      return "bad tag <" + name + where;
    }
  }
  if (!open.empty()) return "<" + open.back() + "> is never closed";
  return root_seen ? "" : "no root";
}

}  // namespace attune::test
