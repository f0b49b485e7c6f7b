using System.Globalization;
using System.Text.Json;
using Api.Data;
using Api.Events;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>Several sandboxes at once: lists by filters, and deletion by label. A cursor is the last id of a page: ids grow with time, so that a page after it misses and repeats nothing
/// of what was there, whatever is made or removed meanwhile.</summary>
public static class SandboxListing
{
    public const int MaxLabels = 16, MaxLabel = 512, MaxDeletedAtOnce = 100;

    public static async Task<IResult> List(HttpContext http, SandboxDb db, CancellationToken ct,
        int limit = 100, Guid? after = null, string[]? phase = null, string? node = null, string? @class = null, string[]? label = null, string? namePrefix = null)
    {
        if (limit is < 1 or > Paging.MaxLimit) return Paging.LimitProblem();
        if (@class is not null && !SandboxValidation.Name().IsMatch(@class)) return ApiProblem.Validation("class", "takes the name of a device class");
        if (namePrefix is not null && (namePrefix.Length is 0 or > 63 || namePrefix.Any(c => !(char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-'))))
            return ApiProblem.Validation("namePrefix", "takes 1 to 63 of a-z, 0-9 and -");
        if (Phases(phase ?? []) is not { } phases) return ApiProblem.Validation("phase", $"takes one or several of {string.Join(", ", Enum.GetNames<Phase>())}");
        if (Labels(label ?? []) is not { } labels) return ApiProblem.Validation("label", $"takes key=value, at most {MaxLabels} of them");
        if (node is not null && !Guid.TryParse(node, out _) && !SandboxValidation.Name().IsMatch(node)) return ApiProblem.Validation("node", "takes the id or the name of a node");
        await EventEndpoints.TellLastAsync(http, db, ct);
        var project = http.User.ProjectId();
        var query = Carrying(db.Sandboxes.AsNoTracking().Where(s => s.ProjectId == project && (after == null || s.Id > after)), labels);
        if (phases.Count > 0) query = query.Where(s => phases.Contains(s.Phase));
        if (Guid.TryParse(node, out var on)) query = query.Where(s => s.NodeId == on);
        else if (node is not null) query = query.Where(s => db.Nodes.Any(n => n.Id == s.NodeId && n.Name == node));
        if (namePrefix is not null) query = query.Where(s => s.Name.StartsWith(namePrefix));
        if (@class is not null)
        {
            var contained = JsonSerializer.Serialize(new[] { new Dictionary<string, string> { ["class"] = @class } });
            query = query.Where(s => EF.Functions.JsonContains(s.Accelerators, contained));
        }
        var rows = await query.OrderBy(s => s.Id).Take(limit + 1).ToListAsync(ct);
        var items = await SandboxViews.OfAsync(db, rows.Take(limit).ToList(), ct);
        return Results.Ok(new Page<SandboxView>(items, rows.Count > limit ? rows[limit - 1].Id.ToString() : null));
    }

    /// <summary>Each by itself, as its user would delete it: an end in between leaves the rest for the next call.</summary>
    public static async Task<IResult> DeleteMany(HttpContext http, SandboxDb db, SandboxWishes wishes, CancellationToken ct, string[]? label = null, int limit = MaxDeletedAtOnce, Guid? after = null)
    {
        if (limit is < 1 or > MaxDeletedAtOnce) return ApiProblem.Validation("limit", $"takes 1 to {MaxDeletedAtOnce}");
        if (Labels(label ?? []) is not { Count: > 0 } labels) return ApiProblem.Validation("label", $"is required: key=value, at most {MaxLabels} of them that all hold");
        var project = http.User.ProjectId();
        var ids = await Carrying(db.Sandboxes.AsNoTracking().Where(s => s.ProjectId == project && s.Desired != DesiredState.Deleted && (after == null || s.Id > after)), labels)
            .OrderBy(s => s.Id).Take(limit + 1).Select(s => s.Id).ToListAsync(ct);
        var deleted = 0;
        foreach (var id in ids.Take(limit))
        {
            if (await wishes.DeleteAsync(id, project, default, ct) is not IStatusCodeHttpResult { StatusCode: 404 }) deleted++;
            db.ChangeTracker.Clear();
        }
        return Results.Ok(new SandboxesDeleted(deleted, ids.Count > limit ? ids[limit - 1].ToString() : null));
    }

    /// <summary>Null: not phases.</summary>
    private static List<Phase>? Phases(string[] given)
    {
        var phases = new List<Phase>();
        foreach (var name in given.SelectMany(p => p.Split(',')))
            if (NamedEnum.TryParse<Phase>(name, out var phase) && phases.Count < 64) phases.Add(phase);
            else return null;
        return phases;
    }

    /// <summary>Null: not labels.</summary>
    private static List<(string Key, string Value)>? Labels(string[] given)
    {
        if (given.Length > MaxLabels) return null;
        var labels = new List<(string, string)>();
        foreach (var label in given)
        {
            var at = label.IndexOf('=', StringComparison.Ordinal);
            if (at < 1 || label.Length > MaxLabel || label.Any(char.IsControl)) return null;
            labels.Add((label[..at], label[(at + 1)..]));
        }
        return labels;
    }

    private static IQueryable<Sandbox> Carrying(IQueryable<Sandbox> sandboxes, List<(string Key, string Value)> labels)
    {
        foreach (var (key, value) in labels)
        {
            var contained = JsonSerializer.Serialize(new Dictionary<string, string> { [key] = value });
            sandboxes = sandboxes.Where(s => EF.Functions.JsonContains(s.Labels, contained));
        }
        return sandboxes;
    }
}
