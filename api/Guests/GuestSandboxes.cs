using Api.Audit;
using Api.Data;
using Api.Http;
using Microsoft.EntityFrameworkCore;

namespace Api.Guests;

/// <summary>The caller's sandboxes, for what needs no session of its own.</summary>
public sealed class GuestSandboxes(SandboxDb db, AuditTrail audit)
{
    /// <summary>Its name; null when the caller has none of that id.</summary>
    public Task<string?> FindAsync(Guid id, HttpContext http)
    {
        var project = http.User.ProjectId();
        return db.Sandboxes.AsNoTracking().Where(s => s.Id == id && s.ProjectId == project).Select(s => s.Name).SingleOrDefaultAsync(http.RequestAborted);
    }

    public Task TellAsync(Guid id, string name, HttpContext http, object told) => audit.TellUseAsync(db, http, "sandbox", id.ToString(), name, told);
}
